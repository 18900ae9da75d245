{{ config(tags=['once_a_day']) }}

with

rejects as (
    select * from {{ ref('stg_operations__rejects') }}
),

final as (
    select
        source,
        date(rejected_at, 'Asia/Manila') as date_manila,
        table_name,
        reason,
        is_expected,
        count(*) as reject_count,
        count(distinct batch_id) as batch_count,
    from rejects
    group by source, date_manila, table_name, reason, is_expected
)

select * from final
