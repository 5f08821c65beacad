"""What a comparison is made of: trials, their trainings and findings, standings, tables, page."""
