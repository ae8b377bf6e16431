// The same header where exceptions are off: calls return a status, and the value if it is RF_OK.
//
//     c++ -std=c++17 -fno-exceptions without_exceptions.cpp $(pkg-config --cflags --libs rayfabric)
#include <cstdio>
#include <rayfabric.hpp>

using namespace std::chrono_literals;

int main() {
    rf_fabric_options options;
    rf_fabric_options_init(&options);
    options.capacity = 4 << 20;
    auto fabric = rayfabric::fabric::open(options);
    if (!fabric) {
        std::fprintf(stderr, "%s\n", rf_last_error());
        return 1;
    }
    auto id = fabric->put("hello", 5);
    if (!id) return 1;
    auto object = fabric->get(*id, 1s);
    if (!object) return 1;
    std::printf("%.*s\n", static_cast<int>(object->size()), static_cast<const char *>(object->data()));
    if (!fabric->remove(*id)) return 1;
    const auto gone = fabric->get(*id, 1s);
    std::printf("%s\n", rf_status_name(gone.status()));
    return gone.status() == RF_OBJECT_DELETED ? 0 : 1;
}
