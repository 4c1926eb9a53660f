"""The history: what became of each call. Recorded from the archive and the outcomes.

turnout.archive ──▶ recorder ──▶ events, runs, attempts ──▶ search, story
turnout.outcomes ─▶    │
                       '── offsets, in the same transaction
"""
