/* Prints sizes and offsets of the structures, for the record of the ABI. */
#include <rayfabric.h>
#include <stdio.h>

#define SIZE(type) printf("size %s %zu\n", #type, sizeof(type))
#define OFFSET(type, member) printf("offset %s.%s %zu\n", #type, #member, offsetof(type, member))

int main(void) {
    SIZE(rf_object_id);
    SIZE(rf_node_id);
    SIZE(rf_fabric_options);
    OFFSET(rf_fabric_options, struct_size);
    OFFSET(rf_fabric_options, flags);
    OFFSET(rf_fabric_options, transport);
    OFFSET(rf_fabric_options, capacity);
    OFFSET(rf_fabric_options, path);
    OFFSET(rf_fabric_options, listen);
    OFFSET(rf_fabric_options, key);
    OFFSET(rf_fabric_options, key_size);
    OFFSET(rf_fabric_options, file);
    OFFSET(rf_fabric_options, maximum_objects);
    OFFSET(rf_fabric_options, prefault);
    OFFSET(rf_fabric_options, log);
    OFFSET(rf_fabric_options, log_context);
    OFFSET(rf_fabric_options, maximum_clients);
    OFFSET(rf_fabric_options, reserved);
    SIZE(rf_view);
    OFFSET(rf_view, data);
    OFFSET(rf_view, size);
    OFFSET(rf_view, metadata);
    OFFSET(rf_view, metadata_size);
    SIZE(rf_completion);
    OFFSET(rf_completion, tag);
    OFFSET(rf_completion, object);
    OFFSET(rf_completion, status);
    OFFSET(rf_completion, reserved);
    SIZE(rf_usage);
    OFFSET(rf_usage, duplicates);
    SIZE(rf_transfers);
    OFFSET(rf_transfers, rdma_operations);
    SIZE(rf_holder);
    SIZE(rf_object_info);
    OFFSET(rf_object_info, id);
    OFFSET(rf_object_info, size);
    OFFSET(rf_object_info, metadata_size);
    OFFSET(rf_object_info, creator);
    OFFSET(rf_object_info, is_secondary);
    OFFSET(rf_object_info, is_deleted);
    OFFSET(rf_object_info, age_ns);
    OFFSET(rf_object_info, holders);
    OFFSET(rf_object_info, holder_count);
    return 0;
}
