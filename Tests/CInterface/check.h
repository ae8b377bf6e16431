/* What all files of the test program share: checks that count statuses, and small helpers. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <rayfabric.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

/* Statuses that some call returned as it should, so that main.c can tell which were never provoked. */
extern unsigned char seen[256];
extern int failures;
/* Whether the machine is so slow (valgrind) that what takes millions of calls is left out. */
extern int is_slow;
/* Whether the system lets a process leave its network; a child of which that was wanted says so. */
extern int has_namespaces;
#define WITHOUT_NAMESPACES 200

void check_status(rf_status expected, rf_status got, const char *call, const char *file, int line);
void check_true(int is_true, const char *text, const char *file, int line);

#define EXPECT(status, call) check_status((status), (call), #call, __FILE__, __LINE__)
#define CHECK(condition) check_true((condition) ? 1 : 0, #condition, __FILE__, __LINE__)

/* A fabric of its own for a test. */
rf_fabric *open_fabric(uint64_t capacity, const char *path);
rf_fabric *open_node(const char *listen, const char *key);
/* Two nodes of this process at that host, which have nothing but that transport, and an object that is pulled: what the
 * first call that failed returned. */
rf_status pull_with(const char *host, int32_t transport);
rf_object_id put_text(rf_fabric *fabric, const char *text);
/* An identifier that nobody ever made, of the same process as `near`. */
rf_object_id missing_id(rf_object_id near, uint8_t number);
/* A path of this process in the directory for temporary files. */
void temporary_path(char *path, size_t capacity, const char *name);
/* Runs this program again with two arguments in another process, and returns its number. */
int start_child(const char *role, const char *argument);
/* Waits for a process to end; its exit status, or -1. */
int end_of(int process);
/* Waits until the file is there, for at most 20 seconds. */
void await_file(const char *path);

/* The tests, one function a file. */
void test_objects(void);
void test_handles(void);
void test_structures(void);
void test_opening(void);
void test_limits(void);
void test_queue(void);
void test_nodes(void);
void test_processes(void);
void test_threads(void);

/* What a child does; its exit status. */
int child_main(const char *role, const char *argument);

#endif
