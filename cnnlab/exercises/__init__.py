"""Exercises: one module a lesson, one :class:`~cnnlab.exercises.engine.Exercise` a task.

In a notebook: ``from cnnlab.exercises import ants_and_bees as ex``, then
``ex.majority_baseline.check(my_function)``, ``.hint()`` and ``.solution()``.

To add one, decorate its solution. The mistakes are the diagnoses *and* the wrong answers that
``tests/exercises`` tries; it finds every exercise of every module here by itself, spoils its
solution in every place, and asks for a judge: somebody else who says what is right (``judges.py``).

>>> from cnnlab.exercises.engine import exercise
>>> kernels = [(3, 3, 1), (8, 3, 2), (28, 5, 3)]  # the smallest first: the first wrong one is shown
>>> def mistaken_sizes(n, k, s):
...     return {
...         "these are the steps; there is one position more": (n - k) // s,
...         "the kernel must fit: it cannot start everywhere": n // s,
...         "where the kernel does not fit is no position: round down": (n - k) / s + 1,
...     }
>>> @exercise(cases=kernels, mistakes=mistaken_sizes, hints=["How far can the kernel slide?"])
... def output_size(n, k, s):
...     return (n - k) // s + 1
>>> output_size.check(lambda n, k, s: (n - k) // s)
✗ not yet — these are the steps; there is one position more
    output_size(3, 3, 1)
    expected 1, got 0
"""
