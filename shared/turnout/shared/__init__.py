"""What ingress, router and workers have in common: words, messages and connections.

Nothing here opens the SQL database, and nothing here knows which of the three it serves.
"""
