"""halosearch: scale HaloNet by measurement, for your budget, your GPU and your images.

The rooms, in the order a candidate walks them (each may import only rooms to its right):

    cli -> study -> report -> analysis | search -> records -> cost | proxy -> halonet -> space -> errors

Nothing heavy is imported here: ``import halosearch`` must stay cheap, so that the command line answers at once.
"""

__version__ = "0.1.0"
