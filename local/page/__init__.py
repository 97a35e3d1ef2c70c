"""`unstale page`: how fresh every view is and was, as one HTML file that needs nothing else."""
