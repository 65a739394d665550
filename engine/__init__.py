"""The mechanism that the scripts share. Knows no model and no dataset."""
