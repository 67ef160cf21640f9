"""Maps or networks to rows, tables and the report page."""
