"""The documentation, and the programs that compute its tables and draw its figures."""
