"""The pages of the admin that show the installation as a whole: overview, search, timelines and live state."""
