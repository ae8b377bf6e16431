/* A 2-D stencil whose ranks exchange the edges of their blocks as objects, and check each step against MPI's own
 * exchange. Rank 0 hosts the store, the others attach to it; MPI carries the identifiers, 24 bytes an edge.
 *
 *     mpicc halo.c $(pkg-config --cflags --libs rayfabric) -o halo && mpirun -n 4 ./halo
 */
#include <mpi.h>
#include <rayfabric.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { side = 64, steps = 20, directions = 4 };
static const int64_t limit = INT64_C(10000000000);

/* A block with a frame of one cell that belongs to the neighbours. */
typedef double block[side + 2][side + 2];

static void require(rf_status status, const char *what) {
    if (status == RF_OK) return;
    fprintf(stderr, "%s: %s\n", what, rf_last_error());
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* The cell of the block's edge (depth 1) or frame (depth 0) in a direction: left, right, up, down. */
static double *cell(block cells, int direction, int depth, int index) {
    const int near = depth, far = side + 1 - depth;
    switch (direction) {
    case 0: return &cells[index][near];
    case 1: return &cells[index][far];
    case 2: return &cells[near][index];
    default: return &cells[far][index];
    }
}

/* Puts each edge, sends its identifier to the neighbour, gets the neighbour's edge and reads it into the frame. */
static void exchange_by_fabric(rf_fabric *fabric, MPI_Comm grid, const int neighbours[directions], block cells) {
    rf_object_id mine[directions], theirs[directions];
    MPI_Request requests[2 * directions];
    int direction, index, count = 0;
    for (direction = 0; direction < directions; direction++) {
        rf_draft *draft;
        void *data;
        if (neighbours[direction] == MPI_PROC_NULL) continue;
        require(rf_draft_create(fabric, side * sizeof(double), NULL, 0, &draft, &data), "create");
        for (index = 0; index < side; index++) ((double *)data)[index] = *cell(cells, direction, 1, index + 1);
        require(rf_draft_seal(draft, &mine[direction]), "seal");
        /* The edge that is left here is right there. */
        MPI_Isend(&mine[direction], sizeof(rf_object_id), MPI_BYTE, neighbours[direction], direction, grid,
                  &requests[count++]);
        MPI_Irecv(&theirs[direction], sizeof(rf_object_id), MPI_BYTE, neighbours[direction], direction ^ 1, grid,
                  &requests[count++]);
    }
    MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
    for (direction = 0; direction < directions; direction++) {
        rf_object *object;
        rf_view view;
        if (neighbours[direction] == MPI_PROC_NULL) continue;
        rf_view_init(&view);
        require(rf_get(fabric, &theirs[direction], limit, &object, &view), "get");
        for (index = 0; index < side; index++)
            *cell(cells, direction, 0, index + 1) = ((const double *)view.data)[index];
        require(rf_object_release(object), "release");
    }
    /* All have read: the edges may go. */
    MPI_Barrier(grid);
    for (direction = 0; direction < directions; direction++)
        if (neighbours[direction] != MPI_PROC_NULL) require(rf_delete(fabric, &mine[direction], 1), "delete");
}

static void exchange_by_mpi(MPI_Comm grid, const int neighbours[directions], block cells) {
    double out[directions][side], in[directions][side];
    MPI_Request requests[2 * directions];
    int direction, index, count = 0;
    for (direction = 0; direction < directions; direction++) {
        for (index = 0; index < side; index++) out[direction][index] = *cell(cells, direction, 1, index + 1);
        MPI_Isend(out[direction], side, MPI_DOUBLE, neighbours[direction], direction, grid, &requests[count++]);
        MPI_Irecv(in[direction], side, MPI_DOUBLE, neighbours[direction], direction ^ 1, grid, &requests[count++]);
    }
    MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
    for (direction = 0; direction < directions; direction++)
        if (neighbours[direction] != MPI_PROC_NULL)
            for (index = 0; index < side; index++) *cell(cells, direction, 0, index + 1) = in[direction][index];
}

static void relax(block cells) {
    static block next;
    int row, column;
    memcpy(next, cells, sizeof next);
    for (row = 1; row <= side; row++)
        for (column = 1; column <= side; column++)
            next[row][column] = 0.25 * (cells[row - 1][column] + cells[row + 1][column] + cells[row][column - 1] +
                                        cells[row][column + 1]);
    memcpy(cells, next, sizeof next);
}

/* Rank 0 hosts, the others attach once it is there. */
static rf_fabric *open_fabric(int rank) {
    rf_fabric *fabric = NULL;
    char path[64];
    int host = (int)getpid();
    MPI_Bcast(&host, 1, MPI_INT, 0, MPI_COMM_WORLD);
    snprintf(path, sizeof path, "/tmp/rayfabric-halo-%d", host);
    if (rank == 0) {
        rf_fabric_options options;
        rf_fabric_options_init(&options);
        options.capacity = 64 << 20;
        options.path = path;
        require(rf_fabric_open(&options, &fabric), "open");
    }
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank != 0) require(rf_fabric_attach(path, "rank", &fabric), "attach");
    return fabric;
}

int main(int count, char **arguments) {
    static block fabrics, references;
    int rank, ranks, step, row, column, wrong = 0, total = 0;
    int shape[2] = {0, 0}, periodic[2] = {0, 0}, neighbours[directions];
    rf_fabric *fabric;
    MPI_Comm grid;
    MPI_Init(&count, &arguments);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Dims_create(ranks, 2, shape);
    MPI_Cart_create(MPI_COMM_WORLD, 2, shape, periodic, 0, &grid);
    MPI_Cart_shift(grid, 1, 1, &neighbours[0], &neighbours[1]);
    MPI_Cart_shift(grid, 0, 1, &neighbours[2], &neighbours[3]);
    fabric = open_fabric(rank);
    for (row = 1; row <= side; row++)
        for (column = 1; column <= side; column++) fabrics[row][column] = (rank * 7919 + row * 131 + column * 17) % 1000;
    memcpy(references, fabrics, sizeof fabrics);
    for (step = 0; step < steps; step++) {
        exchange_by_fabric(fabric, grid, neighbours, fabrics);
        exchange_by_mpi(grid, neighbours, references);
        relax(fabrics);
        relax(references);
        wrong += memcmp(fabrics, references, sizeof fabrics) != 0;
    }
    MPI_Allreduce(&wrong, &total, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) printf("%d ranks, %d steps, %d of them differ from MPI's\n", ranks, steps, total);
    /* The host goes last. */
    if (rank != 0) require(rf_fabric_close(fabric), "close");
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) require(rf_fabric_close(fabric), "close");
    MPI_Finalize();
    return total != 0;
}
