with

builds as (
    select * from {{ source('operations', 'builds') }}
),

renamed as (
    select
        build_id,

        source,
        state,
        code_version,
        message,

        nodes_passed as passed_node_count,
        nodes_failed as failed_node_count,
        nodes_warned as warned_node_count,
        nodes_skipped as skipped_node_count,
        bytes_billed as billed_bytes,
        timestamp_diff(ended_at, started_at, millisecond) / 1000 as build_seconds,

        covers_applied_at,
        asked_at,
        started_at,
        ended_at,
    from builds
),

final as (
    select * from renamed
)

select * from final
