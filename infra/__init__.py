"""What brings the functions into the clouds: templates, and the packages that they deploy."""
