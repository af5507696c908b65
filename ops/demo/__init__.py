"""The demo: a walkthrough of the API with a sample export."""
