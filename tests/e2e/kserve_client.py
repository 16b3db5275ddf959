"""KServe's own client against a server, in an environment that has it: `python kserve_client.py ADDRESS CASES`.

CASES is a folder of files `<graph>.npz` with arrays `in.<input>` and `out.<output>`: what goes in, and what must come out.
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}
MOST_IN_JSON = 200_000


async def run(client: InferenceRESTClient, url: str, case: Path, *, binary: bool) -> int:
    """Run a graph and compare its outputs to the bit. Returns how many there are."""
    with np.load(case) as arrays:
        inputs = {name[3:]: arrays[name] for name in arrays if name.startswith("in.")}
        outputs = {name[4:]: arrays[name] for name in arrays if name.startswith("out.")}
    if not binary and sum(array.size for array in inputs.values()) > MOST_IN_JSON:
        return 0
    tensors = []
    for name, array in inputs.items():
        tensors.append(InferInput(name, list(array.shape), TYPES[array.dtype.name]))
        tensors[-1].set_data_from_numpy(array, binary_data=binary)
    ask = InferRequest(case.stem, tensors, request_id="7", parameters={"binary_data_output": binary})
    answer = await client.infer(url, ask, model_name=case.stem)
    assert (answer.model_name, answer.id) == (case.stem, "7")
    assert {output.name for output in answer.outputs} == set(outputs)
    for output in answer.outputs:
        np.testing.assert_array_equal(output.as_numpy(), outputs[output.name], err_msg=f"{case.stem} {output.name}")
    return len(outputs)


async def main(url: str, folder: Path) -> None:
    """Ask for everything in the folder, in binary and in JSON."""
    cases = sorted(folder.glob("*.npz"))
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=120)) as client:
        assert await client.is_server_live(url)
        assert await client.is_server_ready(url)
        assert not await client.is_model_ready(url, "nobody")
        same = 0
        for case in cases:
            assert await client.is_model_ready(url, case.stem)
            for binary in (True, False):
                same += await run(client, url, case, binary=binary)
    print(f"{len(cases)} graphs run by KServe's client: {same} outputs equal to ONNX Runtime's, to the bit")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
