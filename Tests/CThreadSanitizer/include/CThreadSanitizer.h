// Linked into the test program for its side effect only, see CThreadSanitizer.c.
#ifndef RAYFABRIC_CTHREADSANITIZER_H
#define RAYFABRIC_CTHREADSANITIZER_H
#endif
