"""The pages, and what computes and draws what is in them."""
