! A field written and read in place, as a Fortran array over the memory of the store.
!
!     gfortran -std=f2008 rayfabric.f90 field.f90 $(pkg-config --libs rayfabric) -o field && ./field
program field
    use, intrinsic :: iso_c_binding
    use, intrinsic :: iso_fortran_env, only: real64, error_unit
    use rayfabric
    implicit none
    integer, parameter :: rows = 512, columns = 256
    integer(c_int64_t), parameter :: second = 1000000000_c_int64_t
    type(rf_fabric_options) :: options
    type(rf_object_id) :: id
    type(rf_view) :: view
    type(c_ptr) :: fabric, draft, memory, object
    real(real64), pointer :: written(:, :), read(:, :)
    integer :: row, column

    if (storage_size(options)/8 /= options%struct_size) error stop "rf_fabric_options has another size"
    options%capacity = 64*1024**2
    call require(rf_fabric_open(options, fabric), "open")

    call require(rf_draft_create(fabric, int(8*rows*columns, c_size_t), c_null_ptr, 0_c_size_t, draft, memory), &
                 "create")
    call c_f_pointer(memory, written, [rows, columns])
    do column = 1, columns
        do row = 1, rows
            written(row, column) = row + 1000*column
        end do
    end do
    call require(rf_draft_seal(draft, id), "seal")

    call require(rf_get(fabric, id, second, object, view), "get")
    call c_f_pointer(view%data, read, [rows, columns])
    print '(a, f0.1)', "sum ", sum(read)
    if (read(rows, columns) /= rows + 1000*columns) error stop "the field is not what was written"
    call require(rf_delete(fabric, [id], 1_c_size_t), "delete")
    call require(rf_object_release(object), "release")
    if (rf_object_release(object) /= rf_handle_invalid) error stop "released twice"
    print '(a)', rf_last_error_text()
    call require(rf_fabric_close(fabric), "close")

contains

    subroutine require(status, what)
        integer(c_int32_t), intent(in) :: status
        character(len=*), intent(in) :: what
        if (status == rf_ok) return
        write (error_unit, '(a, ": ", a)') what, rf_last_error_text()
        error stop 1
    end subroutine
end program
