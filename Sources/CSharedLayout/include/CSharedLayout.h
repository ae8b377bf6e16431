// Layouts of memory that several processes share, one header each. Offsets only, never pointers.
#ifndef RAYFABRIC_CSHAREDLAYOUT_H
#define RAYFABRIC_CSHAREDLAYOUT_H

#include "ShmTransportLayout.h"
#include "StoreLayout.h"

#endif
