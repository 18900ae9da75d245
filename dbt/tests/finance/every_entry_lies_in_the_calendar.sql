-- Names each entry that no mart counts because of its date.
{{ config(group="finance", severity="warn") }}

with

uncounted_entries as (
    select * from {{ ref('uncounted_entries') }}
),

final as (
    select
        reason,
        entry_id,
        count(*) as n_records,
    from uncounted_entries
    where reason in ('impossible date', 'beyond the calendar')
    group by reason, entry_id
)

select * from final
