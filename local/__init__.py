"""What runs on one's own machine: the command line, emulators of the cloud APIs, the demo."""
