-- Names each type that the seed entry_types lacks. Nothing is built on uncounted_entries, so the
-- other marts are built all the same, without these entries.
{{ config(group="finance") }}

with

uncounted_entries as (
    select * from {{ ref('uncounted_entries') }}
),

final as (
    select
        type,
        count(*) as n_records,
    from uncounted_entries
    where reason = 'unknown type'
    group by type
)

select * from final
