// libsodium for Swift: HMAC-SHA256 and comparison in constant time.
#ifndef RAYFABRIC_CSODIUM_H
#define RAYFABRIC_CSODIUM_H

#include <sodium/crypto_auth_hmacsha256.h>
#include <sodium/utils.h>

#endif
