// rayfabric.hpp: the C interface for C++17, with handles that end by themselves. Header only.
//
// Every type is moved, not copied; its destructor ends the handle. Calls return what they make and throw
// rayfabric::error. Define RAYFABRIC_NO_EXCEPTIONS, or compile with -fno-exceptions, and they return
// rayfabric::result<T> instead, which holds a status and, if that is RF_OK, the value.
#ifndef RAYFABRIC_HPP
#define RAYFABRIC_HPP

#include <rayfabric.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if !defined(RAYFABRIC_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define RAYFABRIC_NO_EXCEPTIONS 1
#endif
#ifndef RAYFABRIC_NO_EXCEPTIONS
#include <stdexcept>
#endif

namespace rayfabric {

#ifdef RAYFABRIC_NO_EXCEPTIONS

template <typename T>
class [[nodiscard]] result {
public:
    result(std::in_place_t, T value) : status_(RF_OK), value_(std::move(value)) {}
    explicit result(rf_status status) : status_(status) {}
    rf_status status() const { return status_; }
    explicit operator bool() const { return status_ == RF_OK; }
    // The value; only if the status is RF_OK.
    T &operator*() { return *value_; }
    T *operator->() { return &*value_; }

private:
    rf_status status_;
    std::optional<T> value_;
};

template <>
class [[nodiscard]] result<void> {
public:
    explicit result(rf_status status) : status_(status) {}
    rf_status status() const { return status_; }
    explicit operator bool() const { return status_ == RF_OK; }

private:
    rf_status status_;
};

template <typename T, typename Make>
result<T> when_ok(rf_status status, Make make) {
    if (status != RF_OK) return result<T>(status);
    return result<T>(std::in_place, make());
}
inline result<void> when_ok(rf_status status) { return result<void>(status); }

#else

template <typename T>
using result = T;

// What a call threw: its status, and the text of rf_last_error().
class error : public std::runtime_error {
public:
    explicit error(rf_status status) : std::runtime_error(rf_last_error()), status_(status) {}
    rf_status status() const noexcept { return status_; }

private:
    rf_status status_;
};

template <typename T, typename Make>
T when_ok(rf_status status, Make make) {
    if (status != RF_OK) throw error(status);
    return make();
}
inline void when_ok(rf_status status) {
    if (status != RF_OK) throw error(status);
}

#endif

using nanoseconds = std::chrono::nanoseconds;

// A handle that is ended with its owner.
template <typename Handle, rf_status (*End)(Handle *)>
class owner {
public:
    explicit owner(Handle *handle = nullptr) : handle_(handle) {}
    owner(owner &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    owner &operator=(owner &&other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    owner(const owner &) = delete;
    owner &operator=(const owner &) = delete;
    ~owner() {
        if (handle_) End(handle_);
    }
    Handle *get() const { return handle_; }
    // Gives the handle to whoever ends it.
    Handle *release() { return std::exchange(handle_, nullptr); }

private:
    Handle *handle_;
};

// An object, readable in place as long as this lives.
class object {
public:
    object(rf_object *handle, const rf_view &view) : handle_(handle), view_(view) {}
    const void *data() const { return view_.data; }
    std::size_t size() const { return view_.size; }
    std::string_view metadata() const { return {static_cast<const char *>(view_.metadata), view_.metadata_size}; }
    // The payload as an array of T, without what does not fill one.
    template <typename T>
    const T *as() const {
        static_assert(alignof(T) <= 64, "objects are aligned to 64 bytes");
        return static_cast<const T *>(view_.data);
    }
    template <typename T>
    std::size_t count() const {
        return view_.size / sizeof(T);
    }

private:
    owner<rf_object, rf_object_release> handle_;
    rf_view view_;
};

// Memory that becomes an object.
class draft {
public:
    draft(rf_draft *handle, void *data, std::size_t size) : handle_(handle), data_(data), size_(size) {}
    void *data() const { return data_; }
    std::size_t size() const { return size_; }
    template <typename T>
    T *as() const {
        static_assert(alignof(T) <= 64, "objects are aligned to 64 bytes");
        return static_cast<T *>(data_);
    }
    // Ends the draft, whatever comes of it.
    result<rf_object_id> seal() {
        rf_object_id id;
        return when_ok<rf_object_id>(rf_draft_seal(handle_.release(), &id), [&] { return id; });
    }

private:
    owner<rf_draft, rf_draft_abort> handle_;
    void *data_;
    std::size_t size_;
};

// A queue of gets.
class queue {
public:
    explicit queue(rf_queue *handle) : handle_(handle) {}
    rf_queue *handle() const { return handle_.get(); }
    result<int> descriptor() const {
        std::int32_t number = -1;
        return when_ok<int>(rf_queue_descriptor(handle(), &number), [&] { return static_cast<int>(number); });
    }
    result<void> get(const rf_object_id &id, nanoseconds limit, std::uint64_t tag) {
        return when_ok(rf_get_async(handle(), &id, limit.count(), tag));
    }
    // The objects in what it returns are the caller's.
    result<std::vector<rf_completion>> take(std::size_t most, nanoseconds limit) {
        std::vector<rf_completion> completions(most);
        std::size_t count = 0;
        rf_status status = rf_queue_take(handle(), completions.data(), most, limit.count(), &count);
        completions.resize(count);
        return when_ok<std::vector<rf_completion>>(status, [&] { return std::move(completions); });
    }

private:
    owner<rf_queue, rf_queue_close> handle_;
};

// The use of a store.
class fabric {
public:
    explicit fabric(rf_fabric *handle) : handle_(handle) {}
    rf_fabric *handle() const { return handle_.get(); }

    static result<fabric> open(const rf_fabric_options &options) {
        rf_fabric *handle = nullptr;
        return when_ok<fabric>(rf_fabric_open(&options, &handle), [&] { return fabric(handle); });
    }
    static result<fabric> attach(const char *path, const char *name = nullptr) {
        rf_fabric *handle = nullptr;
        return when_ok<fabric>(rf_fabric_attach(path, name, &handle), [&] { return fabric(handle); });
    }
    result<void> connect(const char *address, nanoseconds limit) {
        return when_ok(rf_fabric_connect(handle(), address, limit.count(), nullptr));
    }
    result<std::string> address() const {
        char text[300];
        return when_ok<std::string>(
            rf_fabric_address(handle(), text, sizeof text, nullptr), [&] { return std::string(text); });
    }
    result<rf_object_id> put(const void *data, std::size_t size, std::string_view metadata = {}) {
        rf_object_id id;
        return when_ok<rf_object_id>(
            rf_put(handle(), data, size, metadata.data(), metadata.size(), &id), [&] { return id; });
    }
    result<draft> create(std::size_t size, std::string_view metadata = {}) {
        rf_draft *made = nullptr;
        void *data = nullptr;
        return when_ok<draft>(
            rf_draft_create(handle(), size, metadata.data(), metadata.size(), &made, &data),
            [&] { return draft(made, data, size); });
    }
    result<object> get(const rf_object_id &id, nanoseconds limit) {
        rf_object *found = nullptr;
        rf_view view;
        rf_view_init(&view);
        return when_ok<object>(
            rf_get(handle(), &id, limit.count(), &found, &view), [&] { return object(found, view); });
    }
    result<bool> contains(const rf_object_id &id) const {
        std::int32_t found = 0;
        return when_ok<bool>(rf_contains(handle(), &id, &found), [&] { return found != 0; });
    }
    result<void> remove(const rf_object_id &id) { return when_ok(rf_delete(handle(), &id, 1)); }
    result<queue> make_queue(std::size_t capacity) {
        rf_queue *made = nullptr;
        return when_ok<queue>(rf_queue_create(handle(), capacity, &made), [&] { return queue(made); });
    }

private:
    owner<rf_fabric, rf_fabric_close> handle_;
};

}  // namespace rayfabric

#endif
