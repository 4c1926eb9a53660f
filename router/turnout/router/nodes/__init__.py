"""RabbitMQ and Redis: found where they are, or started as private nodes.

Used by `turnout up`, by the tests and by whoever else needs a broker that belongs to nobody else.
A private node has its own ports, its own data directory and its own supervisor, listens on
loopback alone, and ends with the process that started it.
"""
