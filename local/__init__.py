"""This machine's part of unstale: the command line, emulators of the cloud APIs, the demo."""
