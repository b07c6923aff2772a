"""Measurements of the running service; `scripts/bench` runs them, pytest does not.

Each case starts a service of its own, a paced model (model.py) and a load client (load.py), all in
processes of their own on loopback. Nothing is asserted about time; what is asserted is that every
byte arrived once.
"""
