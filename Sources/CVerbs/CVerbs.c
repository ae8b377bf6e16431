// The target needs a source file; all of it is in the header.
#include "CVerbs.h"
