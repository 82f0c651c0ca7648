"""Write and show pages with the images of a folder or of the history."""
