// Objects in C++17: created in place, read in place, got without waiting; every handle ends by itself.
//
//     c++ -std=c++17 words.cpp $(pkg-config --cflags --libs rayfabric) -o words && ./words
#include <poll.h>

#include <iostream>
#include <numeric>
#include <rayfabric.hpp>

using namespace std::chrono_literals;

int main() try {
    rf_fabric_options options;
    rf_fabric_options_init(&options);
    options.capacity = 64 << 20;
    auto fabric = rayfabric::fabric::open(options);

    // No copy: the numbers are written where all will read them.
    const std::size_t count = 1 << 20;
    auto draft = fabric.create(count * sizeof(double), "doubles");
    std::iota(draft.as<double>(), draft.as<double>() + count, 0.0);
    const rf_object_id id = draft.seal();

    auto object = fabric.get(id, 5s);
    const double *numbers = object.as<double>();
    const double sum = std::accumulate(numbers, numbers + object.count<double>(), 0.0);
    std::cout << object.metadata() << ": " << object.count<double>() << ", sum " << sum << "\n";

    // Without waiting: the descriptor goes into any event loop.
    auto queue = fabric.make_queue(16);
    queue.get(id, 5s, 42);
    pollfd item{queue.descriptor(), POLLIN, 0};
    if (poll(&item, 1, 5000) != 1) return 1;
    for (const rf_completion &completion : queue.take(16, 0s)) {
        std::cout << "tag " << completion.tag << ": " << rf_status_name(completion.status) << "\n";
        rf_object_release(completion.object);
    }

    // What fails says why.
    fabric.remove(id);
    try {
        fabric.get(id, 1s);
        return 1;
    } catch (const rayfabric::error &error) {
        std::cout << rf_status_name(error.status()) << "\n";
    }
    // Deleted, and still readable.
    return numbers[count - 1] == count - 1 ? 0 : 1;
} catch (const rayfabric::error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
