"""The competition: its files, tables, splits, photos and views."""
