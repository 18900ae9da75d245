with

jobs as (
    select * from {{ source('operations', 'jobs') }}
),

renamed as (
    select
        job_id,
        batch_id,

        source,
        purpose,
        job_type,
        state,

        bytes_processed as processed_bytes,
        bytes_billed as billed_bytes,
        slot_ms / 1000 as slot_seconds,
        timestamp_diff(ended_at, started_at, millisecond) / 1000 as job_seconds,

        started_at,
        ended_at,
    from jobs
),

final as (
    select * from renamed
)

select * from final
