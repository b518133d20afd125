"""Drafts of reports: what the page about other libraries says of one of them."""

from tests.oracle.survey.drafts import defects, draft


def test_a_library_is_told_its_own_defects_and_those_it_shares():
    headings = [heading for heading, _ in defects()]
    assert len(headings) >= 10 and all("\n" not in heading for heading in headings)
    for library in ("nflows", "zuko", "FrEIA", "Pyro"):
        text = draft(library)
        shown = [heading for heading in headings if f"\n{heading}\n---" in text]
        assert shown == [heading for heading in headings if f"{library} " in heading]
        assert len(shown) >= 2 and text.count(".. code-block:: python") >= 2
    assert draft("glow_of_mars") is None
