"""The listing of an image's packages, and that audit and listing look at what is served."""

from deploy.container_test.shell import ROOT
from deploy.sbom import debian


def test_debian_packages_have_their_names_versions_and_addresses() -> None:
    found = debian("zlib1g\t1:1.2.13.dfsg-1\tamd64\nbase-files\t12.4+deb12u5\tamd64\n", "amostra:1")
    assert found["bomFormat"] == "CycloneDX"
    assert [(c["name"], c["version"]) for c in found["components"]] == [
        ("base-files", "12.4+deb12u5"),
        ("zlib1g", "1:1.2.13.dfsg-1"),
    ]
    assert found["components"][1]["purl"] == "pkg:deb/debian/zlib1g@1%3A1.2.13.dfsg-1?arch=amd64"
    assert found["metadata"]["component"]["name"] == "amostra:1"


def test_everything_that_is_served_is_audited() -> None:
    target = (ROOT / "Makefile").read_text().split("\naudit:")[1].split("\n\n")[0]
    for name in ("serve", "serve-gpu", "serve-options"):
        assert f"requirements/{name}.txt" in target
    assert "--strict" in target, "what could not be looked up is no pass"
