"""Letters: what the broker could not bring to a good end, kept until somebody settles it.

turnout.dead     ──▶ intake ──▶ dead_letters ──▶ replayed, or discarded with a reason
turnout.unrouted ──▶ intake ──▶ unrouted     ──▶ published again once its binding exists
"""
