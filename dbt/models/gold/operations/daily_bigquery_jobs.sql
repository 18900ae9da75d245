{{ config(tags=['once_a_day']) }}

with

jobs as (
    select * from {{ ref('stg_operations__jobs') }}
),

final as (
    select
        source,
        date(started_at, 'Asia/Manila') as date_manila,
        purpose,
        job_type,
        count(*) as job_count,
        countif(state = 'failed') as failed_job_count,
        coalesce(sum(processed_bytes), 0) as processed_bytes,
        coalesce(sum(billed_bytes), 0) as billed_bytes,
        coalesce(sum(slot_seconds), 0) as slot_seconds,
        coalesce(sum(job_seconds), 0) as job_seconds,
        max(job_seconds) as longest_job_seconds,
    from jobs
    group by source, date_manila, purpose, job_type
)

select * from final
