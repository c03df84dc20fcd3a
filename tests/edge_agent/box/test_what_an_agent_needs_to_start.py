"""What an agent does until it watches is no more than it must: until then nobody is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from agent_process import ENVIRONMENT, box_toml
from edge_site import Site

from runtime.bundle import MANIFEST_NAME, Manifest

pytestmark = [pytest.mark.models, pytest.mark.processes]

# What serves, calls over HTTP, updates a box, reads other networks, or is another role's.
NOT_NEEDED = {
    *("fastapi", "starlette", "uvicorn", "httpx", "httpcore", "anyio", "prometheus_client"),
    *("tuf", "securesystemslib", "tomlkit", "packaging", "pip", "setuptools", "pkg_resources"),
    *("ai_edge_litert", "scipy.optimize", "scipy.sparse", "PIL"),
    *("custodian", "aggregator", "officers", "provisioning", "models", "demo"),
    *("edge_agent.measuring", "edge_agent.camera_setup", "edge_agent.enrolling"),
}

PROGRAM = """
import hashlib, json, sys
from pathlib import Path

hashed, sha256 = [], hashlib.sha256

def noting(data=b"", **options):
    hashed.append(len(data))
    return sha256(data, **options)

hashlib.sha256 = noting

import sealtrace.command, edge_agent.cli
from edge_agent.agent import Agent
from edge_agent.config import load_box

Agent(load_box(Path(sys.argv[1])))
print(json.dumps({"modules": list(sys.modules), "hashed": hashed}))
"""


def test_an_agent_loads_no_other_library_and_hashes_each_model_once(
    site: Site, tmp_path: Path, bundle_keys: str, identity: Path, model_bundle_path: Path
) -> None:
    config = tmp_path / "box.toml"
    camera = 'name = "cam-1"\nsource = "file:none.mp4"'
    config.write_text(box_toml(site, bundle_keys, "", 1, [camera]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(config)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert {"cv2", "onnxruntime", "edge_agent.agent"} <= set(seen["modules"])
    assert NOT_NEEDED & set(seen["modules"]) == set()
    manifest = Manifest.model_validate_json((model_bundle_path / MANIFEST_NAME).read_bytes())
    sizes = sorted(model.size for model in manifest.models)
    assert sorted(size for size in seen["hashed"] if size >= sizes[0]) == sizes
