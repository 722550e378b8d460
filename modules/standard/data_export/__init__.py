"""standard.data_export: exports the users of its own table to CSV, once and daily."""
