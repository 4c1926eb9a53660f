"""Replay: events, or dead letters, run again: planned, paced, watched, aborted.

planning ──▶ planned ──start──▶ running ⇄ paused
                │                  ├─────────────▶ done
                └──────abort───────┴─────────────▶ aborted
"""
