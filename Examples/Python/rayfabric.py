"""RayFabric for Python: the C interface through ctypes, with nothing to compile.

Objects are read in place: memoryview(object) and numpy.frombuffer(object) copy nothing. An object stays held for
as long as anything looks at its memory.
"""

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

_library = ctypes.CDLL(os.environ.get("RAYFABRIC_LIBRARY", "librayfabric.so.0"))


class ObjectID(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * 24)]

    def __bytes__(self):
        return bytes(self.bytes)

    def __str__(self):
        text = ctypes.create_string_buffer(54)
        _check(_library.rf_object_id_format(byref(self), text, len(text)))
        return text.value.decode()

    @staticmethod
    def parse(text):
        identifier = ObjectID()
        _check(_library.rf_object_id_parse(text.encode(), byref(identifier)))
        return identifier


class _Options(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("flags", c_uint32), ("transport", c_int32), ("capacity", c_uint64),
        ("path", c_char_p), ("listen", c_char_p), ("key", c_char_p), ("key_size", c_size_t), ("file", c_char_p),
        ("maximum_objects", c_uint64), ("prefault", c_uint64), ("log", c_void_p), ("log_context", c_void_p),
        ("maximum_clients", c_uint32), ("reserved", c_uint32),
    ]


class _View(ctypes.Structure):
    _fields_ = [
        ("struct_size", c_size_t), ("data", c_void_p), ("size", c_size_t), ("metadata", c_void_p),
        ("metadata_size", c_size_t),
    ]


_ID = POINTER(ObjectID)
_HANDLE = POINTER(c_void_p)
for _name, _arguments in {
    "rf_check_abi": [c_int32, c_int32],
    "rf_fabric_open": [POINTER(_Options), _HANDLE],
    "rf_fabric_attach": [c_char_p, c_char_p, _HANDLE],
    "rf_fabric_close": [c_void_p],
    "rf_fabric_connect": [c_void_p, c_char_p, c_int64, c_void_p],
    "rf_fabric_address": [c_void_p, c_char_p, c_size_t, c_void_p],
    "rf_put": [c_void_p, c_void_p, c_size_t, c_char_p, c_size_t, _ID],
    "rf_draft_create": [c_void_p, c_size_t, c_char_p, c_size_t, _HANDLE, _HANDLE],
    "rf_draft_seal": [c_void_p, _ID],
    "rf_draft_abort": [c_void_p],
    "rf_get": [c_void_p, _ID, c_int64, _HANDLE, POINTER(_View)],
    "rf_object_release": [c_void_p],
    "rf_delete": [c_void_p, _ID, c_size_t],
    "rf_object_id_format": [_ID, c_char_p, c_size_t],
    "rf_object_id_parse": [c_char_p, _ID],
}.items():
    _function = getattr(_library, _name)
    _function.argtypes = _arguments
    _function.restype = c_int32
_library.rf_last_error.restype = c_char_p
_library.rf_status_name.restype = c_char_p


class FabricError(Exception):
    """What a call could not do: `status` is its number, `name` the name of that."""

    def __init__(self, status):
        self.status = status
        self.name = _library.rf_status_name(status).decode()
        super().__init__(_library.rf_last_error().decode(errors="replace"))


def _check(status):
    if status != 0:
        raise FabricError(status)


def _nanoseconds(seconds):
    return int(seconds * 1e9)


# The version of the header that the structures above are of.
_check(_library.rf_check_abi(0, 1000))


class _Holder:
    """Releases an object when the last view of its memory has gone."""

    def __init__(self, handle):
        self.handle = handle

    def __del__(self):
        _library.rf_object_release(self.handle)


class Fabric:
    """The use of a store: of this process's own, or of another's that `attach` names."""

    def __init__(self, capacity=0, path=None, listen=None, key=None, attach=None, network=False):
        self._handle = c_void_p()
        if attach is not None:
            _check(_library.rf_fabric_attach(os.fsencode(attach), b"python", byref(self._handle)))
            return
        options = _Options(struct_size=ctypes.sizeof(_Options), capacity=capacity, flags=2 if network else 0)
        options.path = os.fsencode(path) if path is not None else None
        options.listen = listen.encode() if listen is not None else None
        options.key, options.key_size = (key, len(key)) if key is not None else (None, 0)
        _check(_library.rf_fabric_open(byref(options), byref(self._handle)))

    def close(self):
        handle, self._handle = self._handle, None
        if handle is not None:
            _check(_library.rf_fabric_close(handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def connect(self, address, seconds=10):
        _check(_library.rf_fabric_connect(self._handle, address.encode(), _nanoseconds(seconds), None))

    @property
    def address(self):
        text = ctypes.create_string_buffer(300)
        _check(_library.rf_fabric_address(self._handle, text, len(text), None))
        return text.value.decode()

    def put(self, data, metadata=b""):
        """Copies anything that has a contiguous buffer into a new object."""
        view = memoryview(data).cast("B")
        if view.readonly:
            source = bytes(view)
            start = ctypes.cast(c_char_p(source), c_void_p)
        else:
            source = (ctypes.c_uint8 * len(view)).from_buffer(view)
            start = ctypes.cast(source, c_void_p)
        identifier = ObjectID()
        _check(_library.rf_put(self._handle, start, len(view), metadata, len(metadata), byref(identifier)))
        return identifier

    def create(self, size, metadata=b""):
        """Room for an object that is filled in place."""
        draft, data = c_void_p(), c_void_p()
        _check(_library.rf_draft_create(
            self._handle, size, metadata, len(metadata), byref(draft), byref(data)))
        return Draft(draft, data.value, size)

    def get(self, identifier, seconds):
        """The object's memory, read-only and not copied, and its metadata."""
        handle, view = c_void_p(), _View(struct_size=ctypes.sizeof(_View))
        _check(_library.rf_get(
            self._handle, byref(identifier), _nanoseconds(seconds), byref(handle), byref(view)))
        memory = (ctypes.c_uint8 * view.size).from_address(view.data)
        # Whoever looks at the memory keeps the ctypes array, and that the hold.
        memory.holder = _Holder(handle)
        return memoryview(memory).toreadonly(), ctypes.string_at(view.metadata, view.metadata_size)

    def delete(self, identifier):
        _check(_library.rf_delete(self._handle, byref(identifier), 1))


class Draft:
    """Memory of the store that becomes an object. Nothing may look at `memory` once it is sealed."""

    def __init__(self, handle, address, size):
        self._handle = handle
        self.memory = memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B")

    def seal(self):
        self.memory.release()
        handle, self._handle = self._handle, None
        identifier = ObjectID()
        _check(_library.rf_draft_seal(handle, byref(identifier)))
        return identifier

    def __del__(self):
        if self._handle is not None:
            _library.rf_draft_abort(self._handle)
