"""Score networks or saved maps, and write tables and the report page."""
