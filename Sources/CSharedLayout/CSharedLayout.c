#include "CSharedLayout.h"
