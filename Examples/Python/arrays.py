"""NumPy arrays over objects, without a copy, shared by two processes.

    python3 arrays.py
"""

import os
import subprocess
import sys
import tempfile

import numpy

import rayfabric


def child(path, text):
    """Another process of the node: sums the array where it is."""
    with rayfabric.Fabric(attach=path) as fabric:
        memory, metadata = fabric.get(rayfabric.ObjectID.parse(text), seconds=5)
        array = numpy.frombuffer(memory, dtype=metadata.decode())
        assert not array.flags.owndata and not array.flags.writeable
        print("child: sum", array.sum())


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "store")
        with rayfabric.Fabric(capacity=64 << 20, path=path) as fabric:
            draft = fabric.create(8 * 1_000_000, metadata=b"float64")
            array = numpy.frombuffer(draft.memory, dtype="float64")
            array[:] = numpy.arange(1_000_000)
            del array
            identifier = draft.seal()
            subprocess.run([sys.executable, __file__, path, str(identifier)], check=True)

            memory, _ = fabric.get(identifier, seconds=5)
            array = numpy.frombuffer(memory, dtype="float64")
            fabric.delete(identifier)
            # The array keeps the object, though it is deleted.
            del memory
            print("parent: last", array[-1])
            copied = fabric.put(array[:10].copy())
            assert bytes(fabric.get(copied, 5)[0]) == array[:10].tobytes()
            try:
                fabric.get(identifier, seconds=0)
            except rayfabric.FabricError as error:
                print("parent:", error.name)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], sys.argv[2])
    else:
        main()
