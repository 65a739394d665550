"""What the scripts share: training, evaluation, checkpoints and the command line."""
