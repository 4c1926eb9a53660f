"""The HTTP face: a call comes in, is checked, published and answered.

service ─▶ server ─▶ accept ─▶ auth ─▶ lookup (cache)
                        └─▶ archive ─▶ publisher (broker)
                        └─▶ responses
"""
