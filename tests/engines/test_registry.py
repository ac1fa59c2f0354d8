"""Nothing escapes: every operator has cases, and every engine has every operator alike."""

from __future__ import annotations

import inspect

import pytest

import lepton_ref
import lepton_ref.engines
from lepton_ref.engines import base, domain, elementary
from lepton_ref.framework import autograd, operators
from tests.engines.operator_cases import CASES, SERVICES


def own_operators():
    """The operators registered by the package, not those that tests add."""
    functions = autograd.OPERATORS.items()
    return {name for name, f in functions if f.__module__.startswith("lepton_ref.")}


def test_every_operator_of_the_tape_is_on_the_surface():
    lepton_ref.engine("numpy")  # loads all of them
    assert own_operators() == set(base.OPERATORS)


def test_every_operator_has_a_case():
    assert {case.operator for case in CASES} == set(base.OPERATORS)


def test_every_service_has_a_case():
    assert set(SERVICES) == set(base.SERVICES)
    assert all(SERVICES.values())


def test_every_differentiable_operator_has_a_smooth_case():
    smooth = {case.operator for case in CASES if case.smooth}
    assert smooth == set(base.OPERATORS)


def test_no_case_stands_twice():
    names = [str(case) for case in CASES]
    assert sorted(names) == sorted(set(names))


def test_every_operator_is_guarded():
    checked = {**elementary.CHECKS, **domain.CHECKS}
    assert set(base.OPERATORS) <= set(checked)
    assert not set(elementary.CHECKS) & set(domain.CHECKS)


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", base.OPERATORS + base.SERVICES)
def test_signatures_are_the_same_everywhere(engine, name):
    reference = getattr(lepton_ref.engine("numpy"), name)
    assert parameters(getattr(engine, name)) == parameters(reference)


@pytest.mark.parametrize("name", base.OPERATORS + base.SERVICES)
def test_checks_take_what_their_operator_takes(name):
    check = {**elementary.CHECKS, **domain.CHECKS}.get(name)
    if check is None:
        assert name in base.SERVICES
        return
    reference = getattr(lepton_ref.engine("numpy"), name)
    assert [p[0] for p in parameters(check)] == [p[0] for p in parameters(reference)]


def test_an_engine_that_lacks_an_operator_cannot_be_defined():
    with pytest.raises(TypeError, match="engine 'half' lacks add, subtract"):
        type("Half", (base.Engine,), {"name": "half"})


def test_the_package_of_operators_exports_what_it_holds():
    assert set(operators.__all__) <= set(base.OPERATORS)
    assert sorted(operators.__all__) == list(operators.__all__)
