! RayFabric for Fortran 2008: the C interface through iso_c_binding. Statuses are as in rayfabric.h.
module rayfabric
    use, intrinsic :: iso_c_binding
    implicit none
    private

    integer(c_int32_t), parameter, public :: rf_ok = 0
    integer(c_int32_t), parameter, public :: rf_deadline_exceeded = 5
    integer(c_int32_t), parameter, public :: rf_object_deleted = 23
    integer(c_int32_t), parameter, public :: rf_handle_invalid = 100
    integer(c_int32_t), parameter, public :: rf_open_environment = 1
    integer(c_int32_t), parameter, public :: rf_open_network = 2

    type, bind(c), public :: rf_object_id
        integer(c_int8_t) :: bytes(24) = 0
    end type

    type, bind(c), public :: rf_fabric_options
        integer(c_size_t) :: struct_size = 104
        integer(c_int32_t) :: flags = 0
        integer(c_int32_t) :: transport = 0
        integer(c_int64_t) :: capacity = 0
        type(c_ptr) :: path = c_null_ptr
        type(c_ptr) :: listen = c_null_ptr
        type(c_ptr) :: key = c_null_ptr
        integer(c_size_t) :: key_size = 0
        type(c_ptr) :: file = c_null_ptr
        integer(c_int64_t) :: maximum_objects = 0
        integer(c_int64_t) :: prefault = 0
        type(c_funptr) :: log = c_null_funptr
        type(c_ptr) :: log_context = c_null_ptr
        integer(c_int32_t) :: maximum_clients = 0
        integer(c_int32_t) :: reserved = 0
    end type

    type, bind(c), public :: rf_view
        integer(c_size_t) :: struct_size = 40
        type(c_ptr) :: data = c_null_ptr
        integer(c_size_t) :: size = 0
        type(c_ptr) :: metadata = c_null_ptr
        integer(c_size_t) :: metadata_size = 0
    end type

    public :: rf_fabric_open, rf_fabric_attach, rf_fabric_close, rf_fabric_connect
    public :: rf_put, rf_draft_create, rf_draft_seal, rf_draft_abort
    public :: rf_get, rf_object_view, rf_object_release, rf_delete, rf_last_error_text

    interface
        integer(c_int32_t) function rf_fabric_open(options, fabric) bind(c)
            import :: c_int32_t, c_ptr, rf_fabric_options
            type(rf_fabric_options), intent(in) :: options
            type(c_ptr), intent(out) :: fabric
        end function

        integer(c_int32_t) function rf_fabric_attach(path, name, fabric) bind(c)
            import :: c_int32_t, c_ptr, c_char
            character(kind=c_char), intent(in) :: path(*), name(*)
            type(c_ptr), intent(out) :: fabric
        end function

        integer(c_int32_t) function rf_fabric_close(fabric) bind(c)
            import :: c_int32_t, c_ptr
            type(c_ptr), value :: fabric
        end function

        integer(c_int32_t) function rf_fabric_connect(fabric, address, limit_ns, node) bind(c)
            import :: c_int32_t, c_int64_t, c_ptr, c_char
            type(c_ptr), value :: fabric, node
            character(kind=c_char), intent(in) :: address(*)
            integer(c_int64_t), value :: limit_ns
        end function

        integer(c_int32_t) function rf_put(fabric, data, size, metadata, metadata_size, id) bind(c)
            import :: c_int32_t, c_ptr, c_size_t, rf_object_id
            type(c_ptr), value :: fabric, data, metadata
            integer(c_size_t), value :: size, metadata_size
            type(rf_object_id), intent(out) :: id
        end function

        integer(c_int32_t) function rf_draft_create(fabric, size, metadata, metadata_size, draft, data) bind(c)
            import :: c_int32_t, c_ptr, c_size_t
            type(c_ptr), value :: fabric, metadata
            integer(c_size_t), value :: size, metadata_size
            type(c_ptr), intent(out) :: draft, data
        end function

        integer(c_int32_t) function rf_draft_seal(draft, id) bind(c)
            import :: c_int32_t, c_ptr, rf_object_id
            type(c_ptr), value :: draft
            type(rf_object_id), intent(out) :: id
        end function

        integer(c_int32_t) function rf_draft_abort(draft) bind(c)
            import :: c_int32_t, c_ptr
            type(c_ptr), value :: draft
        end function

        integer(c_int32_t) function rf_get(fabric, id, limit_ns, object, view) bind(c)
            import :: c_int32_t, c_int64_t, c_ptr, rf_object_id, rf_view
            type(c_ptr), value :: fabric
            type(rf_object_id), intent(in) :: id
            integer(c_int64_t), value :: limit_ns
            type(c_ptr), intent(out) :: object
            type(rf_view), intent(inout) :: view
        end function

        integer(c_int32_t) function rf_object_view(object, view) bind(c)
            import :: c_int32_t, c_ptr, rf_view
            type(c_ptr), value :: object
            type(rf_view), intent(inout) :: view
        end function

        integer(c_int32_t) function rf_object_release(object) bind(c)
            import :: c_int32_t, c_ptr
            type(c_ptr), value :: object
        end function

        integer(c_int32_t) function rf_delete(fabric, ids, count) bind(c)
            import :: c_int32_t, c_ptr, c_size_t, rf_object_id
            type(c_ptr), value :: fabric
            integer(c_size_t), value :: count
            type(rf_object_id), intent(in) :: ids(count)
        end function

        type(c_ptr) function c_last_error() bind(c, name="rf_last_error")
            import :: c_ptr
        end function

        integer(c_size_t) function c_strlen(text) bind(c, name="strlen")
            import :: c_ptr, c_size_t
            type(c_ptr), value :: text
        end function
    end interface

contains

    ! What the last failed call of this thread was about.
    function rf_last_error_text() result(text)
        character(len=:), allocatable :: text
        character(kind=c_char), pointer :: characters(:)
        type(c_ptr) :: start
        integer :: index, count
        start = c_last_error()
        count = int(c_strlen(start))
        call c_f_pointer(start, characters, [count])
        allocate (character(len=count) :: text)
        do index = 1, count
            text(index:index) = characters(index)
        end do
    end function
end module
