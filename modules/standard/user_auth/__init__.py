"""standard.user_auth: a table of sessions whose expired rows the housekeeper removes every hour."""
