with

loads as (
    select * from {{ ref('stg_operations__loads') }}
),

jobs as (
    select * from {{ ref('stg_operations__jobs') }}
),

builds as (
    select * from {{ ref('stg_operations__builds') }}
),

requests as (
    select * from {{ ref('stg_operations__requests') }}
),

fields as (
    select * from {{ ref('stg_operations__fields') }}
),

loads_by_day as (
    select
        source,
        date(applied_at, 'Asia/Manila') as date_manila,
        count(distinct if(state != 'undone', batch_id, null)) as run_count,
        countif(state = 'applied') as applied_batch_count,
        countif(state = 'no_change') as quiet_look_count,
        countif(state = 'failed') as failed_load_count,
        countif(state in ('superseded', 'held', 'parked')) as unapplied_batch_count,
        countif(state = 'undone') as undone_batch_count,
        -- Rows of a batch that failed come again with the batch.
        sum(if(state != 'failed', extracted_row_count, 0)) as extracted_row_count,
        sum(inserted_row_count) as inserted_row_count,
        sum(updated_row_count) as updated_row_count,
        sum(deleted_row_count + renamed_row_count + absent_row_count) as deleted_row_count,
        sum(rejected_row_count) as rejected_row_count,
        sum(unexpected_reject_count) as unexpected_reject_count,
        sum(request_count) as request_count,
        sum(landed_bytes) as landed_bytes,
        sum(timestamp_diff(extract_ended_at, extract_started_at, millisecond)) / 1000
            as extract_seconds,
        max(timestamp_diff(applied_at, extract_ended_at, millisecond)) / 1000
            as longest_load_seconds,
        max(if(state in ('applied', 'no_change'), watermark_at, null)) as watermark_at,
        max(if(state in ('applied', 'no_change'), applied_at, null)) as looked_at,
    from loads
    group by source, date_manila
),

jobs_by_day as (
    select
        source,
        date(started_at, 'Asia/Manila') as date_manila,
        count(*) as job_count,
        countif(state = 'failed') as failed_job_count,
        sum(billed_bytes) as billed_bytes,
    from jobs
    group by source, date_manila
),

builds_by_day as (
    select
        source,
        date(asked_at, 'Asia/Manila') as date_manila,
        count(*) as build_count,
        countif(state = 'failed') as failed_build_count,
        sum(build_seconds) as build_seconds,
        sum(billed_bytes) as billed_bytes,
    from builds
    group by source, date_manila
),

-- What was sent once a reservation is settled, until then what was granted.
reservations as (
    select
        source,
        reservation_id,
        min(recorded_at) as reserved_at,
        coalesce(
            max(if(state = 'settled', request_count, null)), max(request_count)
        ) as request_count,
    from requests
    group by source, reservation_id
),

requests_by_day as (
    select
        source,
        date(reserved_at, 'Asia/Manila') as date_manila,
        sum(request_count) as plan_request_count,
    from reservations
    group by source, date_manila
),

fields_by_day as (
    select
        source,
        date(announced_at, 'Asia/Manila') as date_manila,
        count(*) as field_change_count,
    from fields
    group by source, date_manila
),

active_days as (
    select source, date_manila, from loads_by_day
    union distinct
    select source, date_manila, from jobs_by_day
    union distinct
    select source, date_manila, from builds_by_day
    union distinct
    select source, date_manila, from requests_by_day
    union distinct
    select source, date_manila, from fields_by_day
),

spans as (
    select
        source,
        min(date_manila) as first_date,
        max(date_manila) as last_date,
    from active_days
    group by source
),

days as (
    select
        source,
        date_manila,
        least(
            {{ now_utc() }}, timestamp(date_add(date_manila, interval 1 day), 'Asia/Manila')
        ) as day_ended_at,
    from spans
    cross join unnest({{ calendar('first_date', last='last_date') }}) as date_manila
),

joined as (
    select
        days.source,
        days.date_manila,
        days.day_ended_at,
        coalesce(loads_by_day.run_count, 0) as run_count,
        coalesce(loads_by_day.applied_batch_count, 0) as applied_batch_count,
        coalesce(loads_by_day.quiet_look_count, 0) as quiet_look_count,
        coalesce(loads_by_day.failed_load_count, 0) as failed_load_count,
        coalesce(loads_by_day.unapplied_batch_count, 0) as unapplied_batch_count,
        coalesce(loads_by_day.undone_batch_count, 0) as undone_batch_count,
        coalesce(loads_by_day.extracted_row_count, 0) as extracted_row_count,
        coalesce(loads_by_day.inserted_row_count, 0) as inserted_row_count,
        coalesce(loads_by_day.updated_row_count, 0) as updated_row_count,
        coalesce(loads_by_day.deleted_row_count, 0) as deleted_row_count,
        coalesce(loads_by_day.rejected_row_count, 0) as rejected_row_count,
        coalesce(loads_by_day.unexpected_reject_count, 0) as unexpected_reject_count,
        coalesce(fields_by_day.field_change_count, 0) as field_change_count,
        coalesce(loads_by_day.request_count, 0) as request_count,
        coalesce(requests_by_day.plan_request_count, 0) as plan_request_count,
        coalesce(loads_by_day.landed_bytes, 0) as landed_bytes,
        coalesce(jobs_by_day.job_count, 0) as job_count,
        coalesce(jobs_by_day.failed_job_count, 0) as failed_job_count,
        coalesce(builds_by_day.build_count, 0) as build_count,
        coalesce(builds_by_day.failed_build_count, 0) as failed_build_count,
        coalesce(jobs_by_day.billed_bytes, 0) as load_billed_bytes,
        coalesce(builds_by_day.billed_bytes, 0) as build_billed_bytes,
        coalesce(loads_by_day.extract_seconds, 0) as extract_seconds,
        loads_by_day.longest_load_seconds,
        coalesce(builds_by_day.build_seconds, 0) as build_seconds,
        max(loads_by_day.watermark_at) over (
            partition by days.source
            order by days.date_manila
            rows between unbounded preceding and current row
        ) as watermark_at,
        max(loads_by_day.looked_at) over (
            partition by days.source
            order by days.date_manila
            rows between unbounded preceding and current row
        ) as looked_at,
    from days
    left join loads_by_day
        on days.source = loads_by_day.source and days.date_manila = loads_by_day.date_manila
    left join jobs_by_day
        on days.source = jobs_by_day.source and days.date_manila = jobs_by_day.date_manila
    left join builds_by_day
        on days.source = builds_by_day.source and days.date_manila = builds_by_day.date_manila
    left join requests_by_day
        on days.source = requests_by_day.source
        and days.date_manila = requests_by_day.date_manila
    left join fields_by_day
        on days.source = fields_by_day.source and days.date_manila = fields_by_day.date_manila
),

final as (
    select
        source,
        date_manila,
        run_count,
        applied_batch_count,
        quiet_look_count,
        failed_load_count,
        unapplied_batch_count,
        undone_batch_count,
        extracted_row_count,
        inserted_row_count + updated_row_count + deleted_row_count as written_row_count,
        inserted_row_count,
        updated_row_count,
        deleted_row_count,
        rejected_row_count,
        unexpected_reject_count,
        field_change_count,
        request_count,
        plan_request_count,
        landed_bytes,
        job_count,
        failed_job_count,
        build_count,
        failed_build_count,
        load_billed_bytes + build_billed_bytes as billed_bytes,
        load_billed_bytes,
        build_billed_bytes,
        extract_seconds,
        longest_load_seconds,
        build_seconds,
        timestamp_diff(day_ended_at, watermark_at, second) / 3600 as data_age_hours,
        timestamp_diff(day_ended_at, looked_at, second) / 3600 as look_age_hours,
    from joined
)

select * from final
